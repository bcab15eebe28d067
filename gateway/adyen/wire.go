package adyen

import (
	"encoding/json"
	"strings"
)

// received is the answer to a modification. Whatever else it carries is dropped
// at the door.
type received struct {
	MerchantAccount string `json:"merchantAccount"`
	Payment         string `json:"paymentPspReference"`
	PSP             string `json:"pspReference"`
	Reference       string `json:"reference"`
	Status          string `json:"status"`
	Amount          *money `json:"amount"`
}

// serviceError is the error of an answer. One without a code is none of Adyen's.
type serviceError struct {
	Status  int    `json:"status"`
	Code    string `json:"errorCode"`
	Message string `json:"message"`
	Type    string `json:"errorType"`
	PSP     string `json:"pspReference"`
}

func parseError(body []byte) (serviceError, bool) {
	var e serviceError
	if json.Unmarshal(body, &e) != nil || e.Code == "" {
		return serviceError{}, false
	}
	return e, true
}

// validID reports whether s can be a PSP reference: letters and digits, 16 of
// them as a rule. Ids go into the paths of calls, and come from outside.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// ours reports whether a name was made by this program for an operation of the
// kind that the prefix stands for.
func ours(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

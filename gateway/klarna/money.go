package klarna

import (
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// maxCents is the largest amount of a capture or a refund, in minor units, as
// the published specification has it.
const maxCents int64 = 100_000_000

// currencies are those that Klarna takes payments in, each country's own. All
// have two decimals by ISO 4217, and amounts travel in minor units. What Klarna
// would make of a currency with none or three is written nowhere, so it is not
// asked.
const currencies = " AUD CAD CHF CZK DKK EUR GBP HUF MXN NOK NZD PLN RON SEK USD "

// toKlarna checks that the wire can express an amount. An error means that it
// cannot; nothing was sent.
func toKlarna(cents int64, currency string) (int64, error) {
	code, err := models.ParseCurrency(currency)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(currencies, " "+code+" ") {
		return 0, fmt.Errorf("klarna takes no payments in %s", code)
	}
	if cents <= 0 || cents > maxCents {
		return 0, fmt.Errorf("amount %d is not between 1 and %d, which is what klarna takes at once", cents, maxCents)
	}
	return cents, nil
}

// currencyOf reads a currency on the wire, which may be in lower case. It
// reports false for one whose minor unit is not known here; the answer's amounts
// then prove nothing.
func currencyOf(s string) (string, bool) {
	code, err := models.ParseCurrency(s)
	if err != nil || !strings.Contains(currencies, " "+code+" ") {
		return "", false
	}
	return code, true
}

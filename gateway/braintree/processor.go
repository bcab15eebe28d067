package braintree

// hardDeclined is the processor's own word for a decline that will not pass.
const hardDeclined = "hard_declined"

// processorCodes are the processor responses that decline an authorization, of
// a refund too: 2000 to 2999 by the payer's bank, 3000 where the network was
// not there. A hard one stays as it is however often it is asked; true is hard.
var processorCodes = map[string]bool{
	"2000": false, "2001": false, "2002": false, "2003": false, "2004": true, "2005": true, "2006": true, "2007": true, "2008": true, "2009": true,
	"2010": true, "2011": true, "2012": true, "2013": true, "2014": true, "2015": true, "2016": false, "2017": true, "2018": true, "2019": true,
	"2020": true, "2021": false, "2022": true, "2023": true, "2024": true, "2025": false, "2026": false, "2027": true, "2028": true, "2029": true,
	"2030": false, "2031": true, "2032": true, "2033": true, "2034": false, "2035": false, "2036": true, "2037": true, "2038": false, "2039": true,
	"2040": false, "2041": true, "2042": false, "2043": true, "2044": true, "2045": true, "2046": false, "2047": true, "2048": false, "2049": true,
	"2050": false, "2051": true, "2053": true, "2054": true, "2055": true, "2056": true, "2057": false, "2058": true, "2059": true, "2060": true,
	"2061": true, "2062": true, "2063": true, "2064": true, "2065": true, "2066": true, "2067": true, "2068": true, "2069": true, "2070": true,
	"2071": true, "2072": true, "2073": true, "2074": true, "2075": true, "2076": true, "2077": true, "2079": true, "2081": true, "2082": true,
	"2083": true, "2084": true, "2085": true, "2086": true, "2087": true, "2088": true, "2089": true, "2090": true, "2091": true, "2092": false,
	"2093": true, "2094": true, "2095": true, "2096": true, "2097": true, "2098": true, "2099": true,
	"3000": false,
}

// settlementCodes are the processor responses to a request to move the money,
// of a sale or a refund.
var settlementCodes = map[string]ruling{
	"4001": barred,    // settlement declined
	"4003": lookFirst, // already captured
	"4004": lookFirst, // already refunded
	"4005": refused,   // rejected by PayPal's risk model
	"4006": refused,   // more than the processor allows
	"4018": barred,    // PayPal's pending payments are not supported
	"4019": barred,    // an open case keeps it from being refunded
	"4020": barred,    // too many attempts to refund
	"4021": barred,    // such a transaction cannot be refunded
	"4022": barred,    // not a valid part
	"4023": barred,    // the merchant's PayPal account has no bank account
	"4024": barred,    // too late to refund
	"4025": refused,   // the payer's account is locked or closed
	"4026": barred,    // more than what settled
}

// declineOf says what a processor's decline proves. It is for good only where
// the code and the type that comes with it both say so; a code that is not
// listed proves nothing.
func declineOf(t transaction) ruling {
	if then, ok := settlementCodes[t.SettlementCode]; ok {
		return then
	}
	if t.SettlementCode != "" {
		return lost
	}
	hard, listed := processorCodes[t.ResponseCode]
	switch {
	case !listed:
		return lost
	case hard && t.ResponseType == hardDeclined:
		return barred
	}
	return declined
}

// wasDeclined reports whether a transaction says of itself that the processor,
// or the gateway for it, did not do what was asked.
func (t transaction) wasDeclined() bool {
	switch t.Status {
	case statusProcessorDeclined, statusSettleDeclined, statusSettleFailed, statusFailed:
		return true
	}
	return false
}

// words are the processor's code and text, for people.
func (t transaction) words() (code, text string) {
	if t.SettlementCode != "" {
		return t.SettlementCode, t.SettlementText
	}
	return t.ResponseCode, t.ResponseText
}

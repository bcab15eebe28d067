package main

import "github.com/capstan-pay/capstan/api/elasticpath"

// elasticNames are what Elastic Path's clients call the accounts, the one that is
// shown first. An account without a line is called by its slug.
func elasticNames() map[string][]string {
	return map[string][]string{
		stripeAccount: {"elastic_path_payments_stripe", "stripe", "stripe_payment_intents", "stripe_connect"},
		paypalAccount: {"paypal_express_checkout", "paypal"},
	}
}

// elasticAccounts are the accounts of this process as Elastic Path's clients know
// them.
func (s *system) elasticAccounts() []elasticpath.Account {
	names := elasticNames()
	var accounts []elasticpath.Account
	for slug, a := range s.accounts {
		caps := a.Capabilities()
		account := elasticpath.Account{Slug: slug, Gateways: names[slug], MultiCapture: caps.MultiCapture, ByHand: caps.ByHand}
		if len(account.Gateways) == 0 {
			account.Gateways = []string{slug}
		}
		if slug == paypalAccount {
			account.Refuses = "paypal" // the one provider whose errors have a document of their own
		}
		accounts = append(accounts, account)
	}
	return accounts
}

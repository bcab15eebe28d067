// Package contract holds an adapter and the sandbox's wire to what their provider
// has published, so that a third party judges both: an OpenAPI document stands
// between them as a [Judge].
//
//	judge := contract.New(t, contract.Document(t, "paypal-payments-v2.json"), contract.Options{Base: "/paypal"})
//	server := httptest.NewServer(judge.Before(sandbox.Handler()))
//	… drive the adapter, well and badly …
//	judge.Want("authorizations.capture 201", "authorizations.capture 422")
//
// Providers' documents are no part of this project. They lie beside the checkout,
// or where CAPSTAN_SPECS_DIR says; without them the test is skipped and says so.
package contract

// Package gatewaytest is the conformance suite of the port in package gateway.
// Every adapter runs it against a fake of its provider that can be told to
// fail and whose book can be read:
//
//	func TestConformance(t *testing.T) {
//		gatewaytest.Run(t, gatewaytest.Harness{…})
//	}
//
// The suite drives an operation the way the workers do, by models.Judge: call;
// when the outcome is not proven, look; send again only when the look-up
// proves that nothing happened. Then it opens the fake's book: each operation
// must stand there once with the right amount, or not at all when the adapter
// said that it was refused. What the adapter says is never enough.
package gatewaytest

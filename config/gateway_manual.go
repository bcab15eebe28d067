package config

// Manual is the account whose money a person moves.
type Manual struct {
	ManualGateway bool `name:"manual-gateway" env:"CAPSTAN_MANUAL_GATEWAY" help:"Take payments whose money a person moves, wire transfers say: they say what became of each."`
}

// Package config reads the command line and the environment: it is the only
// place that does. Every flag has a variable; `capstan COMMAND --help` lists
// both. [Parse] reads, and each group's Validate names all that is wrong at
// once.
package config

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/store"
)

// tokens makes, lists and ends the tokens that clients call with. It goes to the
// database and not over the API: the first one is made before anybody can call.
func tokens(ctx context.Context, c config.Tokens, command string, stdout io.Writer) error {
	st, err := openMigrated(ctx, c.DatabaseURL, store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer st.Close()
	who := operator(command)
	switch command {
	case "tokens list":
		return listTokens(ctx, st, c, stdout)
	case "tokens revoke":
		t, err := st.RevokeToken(ctx, c.Revoke.ID, who)
		if err != nil {
			return unknownToken(c.Revoke.ID, err)
		}
		if c.JSON {
			return printJSON(stdout, t)
		}
		_, err = fmt.Fprintf(stdout, "Token %s (%s) is revoked. Processes that used it lately notice within ten seconds.\n", t.ID, t.Name)
		return err
	case "tokens rotate":
		minted, err := mintLike(ctx, st, c.Rotate.ID)
		if err != nil {
			return unknownToken(c.Rotate.ID, err)
		}
		t, err := st.RotateToken(ctx, c.Rotate.ID, store.AccessToken{ID: minted.ID, Hash: minted.Hash, CreatedBy: who}, c.Rotate.Overlap)
		if err != nil {
			return err
		}
		return showToken(c, t, minted, stdout)
	}
	minted := api.Mint(c.Create.Mode)
	t, err := st.CreateToken(ctx, store.AccessToken{
		ID: minted.ID, Name: c.Create.Name, Mode: c.Create.Mode, Scope: c.Create.Scope, Hash: minted.Hash, CreatedBy: who,
	}, c.Create.Expires)
	if err != nil {
		return err
	}
	return showToken(c, t, minted, stdout)
}

// mintLike mints a token of another's mode, which its text names.
func mintLike(ctx context.Context, st *store.Store, id string) (api.Minted, error) {
	old, err := st.Token(ctx, id)
	if err != nil {
		return api.Minted{}, err
	}
	return api.Mint(old.Mode), nil
}

func unknownToken(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no token %q: `capstan tokens list --all` has their ids", id)
	}
	return err
}

// showToken prints a new token with its secret, the only time that it is to be had.
func showToken(c config.Tokens, t store.AccessToken, m api.Minted, stdout io.Writer) error {
	if c.JSON {
		return printJSON(stdout, struct {
			store.AccessToken
			Token string `json:"token"`
		}{t, m.Secret.Reveal()})
	}
	_, err := fmt.Fprintf(stdout, "%s\n\nToken %s (%s), scope %s, mode %s, %s. It is shown this once.\nAs client credentials: client_id %s, client_secret is the whole token.\n",
		m.Secret.Reveal(), t.ID, t.Name, t.Scope, t.Mode, validUntil(t.ExpiresAt), t.ID)
	return err
}

func validUntil(at *time.Time) string {
	if at == nil {
		return "without end"
	}
	return "until " + at.UTC().Format(time.RFC3339)
}

func listTokens(ctx context.Context, st *store.Store, c config.Tokens, stdout io.Writer) error {
	list, err := st.Tokens(ctx, c.List.All)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(stdout, list)
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tSCOPE\tMODE\tSTATUS\tEXPIRES\tLAST USED")
	for _, x := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.Name, x.Scope, x.Mode, x.Status, orNever(x.ExpiresAt), orNever(x.LastUsedAt))
	}
	return t.Flush()
}

func orNever(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

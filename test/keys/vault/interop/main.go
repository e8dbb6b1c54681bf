// Serves the transit engine of Vault, as Vault itself has it, over HTTPS on loopback: for a test of our client.
//
// Usage: main CERTIFICATE KEY TOKEN. Prints the port. Everything about keys, versions and ciphertexts, and which status
// says what, is Vault's; the token and the mount are looked at here, because they belong to Vault's core.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	log "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

const mount = "/v1/transit/"

func main() {
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(certificate, key, token string) error {
	storage := &logical.InmemStorage{}
	engine, err := transit.Factory(context.Background(), &logical.BackendConfig{
		StorageView: storage,
		Logger:      log.NewNullLogger(),
		System:      &logical.StaticSystemView{},
	})
	if err != nil {
		return err
	}
	warmUp(engine, storage)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != token {
			answer(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
			return
		}
		handle(w, r, engine, storage)
	})
	return http.ServeTLS(listener, handler, certificate, key)
}

// The SDK as it is published is stricter than this engine about one path that is not used here, and panics when it is
// first asked; what comes before that path, all that is used here, is ready by then.
func warmUp(engine logical.Backend, storage logical.Storage) {
	defer func() { _ = recover() }()
	_, _ = engine.HandleRequest(context.Background(), &logical.Request{Path: "keys/none", Storage: storage, Operation: logical.ReadOperation})
}

func handle(w http.ResponseWriter, r *http.Request, engine logical.Backend, storage logical.Storage) {
	request := &logical.Request{Path: strings.TrimPrefix(r.URL.Path, mount), Storage: storage, Operation: logical.ReadOperation}
	if r.Method == http.MethodPost {
		request.Operation = logical.UpdateOperation
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &request.Data); err != nil {
			answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"not JSON"}})
			return
		}
	}
	response, err := engine.HandleRequest(r.Context(), request)
	status, err := logical.RespondErrorCommon(request, response, err)
	switch {
	case err != nil:
		answer(w, status, map[string]any{"errors": []string{err.Error()}})
	case status != 0:
		answer(w, status, map[string]any{"errors": []string{}})
	case response == nil:
		w.WriteHeader(http.StatusNoContent)
	case response.IsError():
		answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"refused"}})
	default:
		answer(w, http.StatusOK, logical.LogicalResponseToHTTPResponse(response))
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

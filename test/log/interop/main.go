// Verifies what a release log hands out with golang.org/x/mod, which knows nothing of it: every offline proof against
// the entry and the signed checkpoint, and one consistency proof. The file to read is made by interop.test.ts.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type document struct {
	VerifierKey string
	Entries     []struct {
		Index int64
		Entry string
		Proof string
	}
	First, Second string
	Consistency   []string
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func hash(text string) (hash tlog.Hash) {
	bytes := must(base64.StdEncoding.DecodeString(text))
	if len(bytes) != tlog.HashSize {
		log.Fatalf("a hash of %d bytes", len(bytes))
	}
	copy(hash[:], bytes)
	return hash
}

func hashes(texts []string) (hashes []tlog.Hash) {
	for _, text := range texts {
		hashes = append(hashes, hash(text))
	}
	return hashes
}

// head opens a checkpoint and returns the state of the tree that it signs.
func head(checkpoint string, verifier note.Verifier) tlog.Tree {
	opened := must(note.Open([]byte(checkpoint), note.VerifierList(verifier)))
	lines := strings.Split(opened.Text, "\n")
	return tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: hash(lines[2])}
}

func main() {
	var read document
	if err := json.Unmarshal(must(os.ReadFile(os.Args[1])), &read); err != nil {
		log.Fatal(err)
	}
	verifier := must(note.NewVerifier(read.VerifierKey))
	for _, entry := range read.Entries {
		proof, checkpoint, _ := strings.Cut(entry.Proof, "\n\n")
		tree := head(checkpoint, verifier)
		path := hashes(strings.Split(proof, "\n")[2:])
		leaf := tlog.RecordHash([]byte(entry.Entry))
		if err := tlog.CheckRecord(path, tree.N, tree.Hash, entry.Index, leaf); err != nil {
			log.Fatal(err)
		}
	}
	first, second := head(read.First, verifier), head(read.Second, verifier)
	if err := tlog.CheckTree(hashes(read.Consistency), second.N, second.Hash, first.N, first.Hash); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(read.Entries), "proofs verified")
}

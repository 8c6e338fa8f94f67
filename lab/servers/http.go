// An HTTP server of Go's standard library that answers every request with a word.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	address := ":8080"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	http.HandleFunc("/", func(out http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(out, "hello")
	})
	log.Fatal(http.ListenAndServe(address, nil))
}

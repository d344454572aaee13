// Sends the message on standard input with Go's net/smtp, as applications do: smtp.SendMail.
// Usage: send HOST:PORT FROM TO...; an empty FROM is the null reverse-path.
package main

import (
	"io"
	"log"
	"net/smtp"
	"os"
)

func main() {
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	if err := smtp.SendMail(os.Args[1], nil, os.Args[2], os.Args[3:], message); err != nil {
		log.Fatal(err)
	}
}

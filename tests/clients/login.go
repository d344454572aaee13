// Logs in within TLS with Go's net/smtp and sends one message. Usage: login HOST PORT starttls|implicit USER PASSWORD
// The certificate to trust is the one that $SSL_CERT_FILE names.
package main

import (
	"crypto/tls"
	"log"
	"net/smtp"
	"os"
)

const from, to = "ann@client.test", "bob@upstream.test"

var message = []byte("From: ann@client.test\r\nTo: bob@upstream.test\r\nSubject: from Go\r\n\r\nHello\r\n")

// What applications write for port 465, which SendMail does not know.
func implicit(host, address string, auth smtp.Auth) error {
	connection, err := tls.Dial("tcp", address, &tls.Config{ServerName: host})
	if err != nil {
		return err
	}
	client, err := smtp.NewClient(connection, host)
	if err != nil {
		return err
	}
	if err = client.Auth(auth); err != nil {
		return err
	}
	if err = client.Mail(from); err != nil {
		return err
	}
	if err = client.Rcpt(to); err != nil {
		return err
	}
	writer, err := client.Data()
	if err != nil {
		return err
	}
	if _, err = writer.Write(message); err != nil {
		return err
	}
	if err = writer.Close(); err != nil {
		return err
	}
	return client.Quit()
}

func main() {
	host, address := os.Args[1], os.Args[1]+":"+os.Args[2]
	auth := smtp.PlainAuth("", os.Args[4], os.Args[5], host)
	var err error
	if os.Args[3] == "implicit" {
		err = implicit(host, address, auth)
	} else {
		err = smtp.SendMail(address, auth, from, []string{to}, message)
	}
	if err != nil {
		log.Fatal(err)
	}
}

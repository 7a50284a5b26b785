// Package page is the web page of the server: it asks for completions and chats, and shows how many recursions each token took.
package page

import (
	"embed"
	"io/fs"
)

//go:embed assets
var assets embed.FS

// Files are index.html and what it loads. Nothing of it comes from elsewhere.
func Files() fs.FS {
	files, err := fs.Sub(assets, "assets")
	if err != nil { // the name above is a constant
		panic(err)
	}
	return files
}

// SecurityPolicy is the Content-Security-Policy under which the page works: its own files, and requests to its own server.
const SecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

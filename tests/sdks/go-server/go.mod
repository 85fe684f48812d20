module featbit-agent/tests/sdks/go-server

// What Debian 12 has is 1.19.
go 1.18

require (
	github.com/featbit/featbit-go-sdk v1.1.3
	github.com/gorilla/websocket v1.5.0
)

require github.com/google/uuid v1.3.0 // indirect

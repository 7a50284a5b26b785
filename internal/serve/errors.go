package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mor/internal/infer"
)

// apiError is why a request is not answered: what the client reads, in OpenAI's form, and apart from it what the log gets.
type apiError struct {
	status  int
	kind    string // invalid_request_error, authentication_error, overloaded_error, timeout_error, server_error
	message string
	param   string        // the field at fault, "" where it is none
	code    string        // "" where there is none
	retry   time.Duration // when it may be sent again; 0: not at all
	cause   error         // for the log alone
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return e.message
}

func (e *apiError) Unwrap() error { return e.cause }

// refused is a 400 about a field.
func refused(param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, kind: "invalid_request_error", param: param, message: fmt.Sprintf(format, args...)}
}

// overloaded is a 503 that may be sent again.
func overloaded(code, message string) *apiError {
	return &apiError{status: http.StatusServiceUnavailable, kind: "overloaded_error", code: code, message: message, retry: time.Second}
}

// asAPIError is what the client reads about an error. What it has no business to read stays in the log.
func asAPIError(err error) *apiError {
	var api *apiError
	var option *infer.OptionError
	var long *infer.TooLongError
	var full *infer.QueueFullError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &option):
		return optionError(option)
	case errors.As(err, &long):
		e := refused("prompt", "%s", long.Error())
		e.code = "context_length_exceeded"
		return e
	case errors.As(err, &full):
		return overloaded("queue_full", full.Error())
	case errors.Is(err, infer.ErrClosed):
		return overloaded("stopping", "the server is stopping: try again later")
	case errors.Is(err, context.DeadlineExceeded):
		return &apiError{status: http.StatusGatewayTimeout, kind: "timeout_error", code: "request_timeout", message: "the request took longer than the server allows", cause: err}
	case errors.Is(err, context.Canceled):
		return &apiError{status: statusClientClosed, kind: "client_closed", message: "the client has left", cause: err}
	}
	return &apiError{status: http.StatusInternalServerError, kind: "server_error", message: "internal error", cause: err}
}

// optionError calls the engine's option by the name of the field that it comes from.
func optionError(e *infer.OptionError) *apiError {
	name, text := e.Name, e.Error()
	if field, ok := map[string]string{"regexp": "guided_regex", "json_schema": "response_format"}[name]; ok {
		name, text = field, field+strings.TrimPrefix(text, name)
	}
	return refused(name, "%s", text)
}

// statusClientClosed is what the log says about a request whose client has left.
const statusClientClosed = 499

// body is the JSON of an error.
func (e *apiError) body() any {
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	return struct {
		Error object `json:"error"`
	}{object{e.message, e.kind, optional(e.param), optional(e.code)}}
}

// write answers with the error.
func (e *apiError) write(w http.ResponseWriter) {
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.retry+time.Second-1)/time.Second)))
	}
	writeJSON(w, e.status, e.body())
}

// writeJSON answers with a value. A client that has left is no error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":{"message":"internal error","type":"server_error","param":null,"code":null}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}

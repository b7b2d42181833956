package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// flagError puts the flag first in what pflag says of the command line.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	var alone *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		return badValue("--"+invalid.GetFlag().Name, err)
	case errors.As(err, &alone):
		return fmt.Errorf("--%s: a value is wanted", alone.GetFlag().Name)
	}
	return err
}

// badValue says what is wrong with a value. object is where it was given: a flag or a variable. err is pflag's.
func badValue(object string, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("%s: %w", object, err)
	}
	why := errors.Unwrap(invalid)
	switch want := wanted(invalid.GetFlag().Value.Type()); {
	case want != "":
		return fmt.Errorf("%s: %q: %s is wanted", object, invalid.GetValue(), want)
	case strings.HasPrefix(why.Error(), `"`): // it names the part of the value that is wrong
		return fmt.Errorf("%s: %w", object, why)
	}
	return fmt.Errorf("%s: %q: %w", object, invalid.GetValue(), why)
}

// wanted is what a flag of one of pflag's own types takes, whose errors name functions of Go. "": of another type.
func wanted(flagType string) string {
	switch flagType {
	case "bool":
		return "true or false"
	case "duration":
		return "a time such as 30s or 100ms"
	case "float64", "int":
		return "a number"
	case "uint16":
		return "a number from 0 to 65535"
	}
	return ""
}

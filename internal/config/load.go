package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"example.com/securemail/internal/secret"
)

const envPrefix = "SECUREMAIL_"

// maxSecretFile is far above any password; a larger file is a wrong path.
const maxSecretFile = 64 << 10

// Load reads the settings: path names the file ("" for none), environ is os.Environ(), and flags holds what was given
// on the command line under the settings' names. The error reports everything that is wrong, a line each.
func Load(need Need, path string, environ []string, flags map[string]string) (Config, error) {
	names := settings(reflect.TypeFor[Config](), "")
	k := koanf.New(".")
	var errs []error
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
		for _, key := range k.Keys() {
			if _, known := names[key]; !known {
				errs = append(errs, fmt.Errorf("%s: %s: no setting has this name; deploy/config.example.yaml lists them", path, key))
			}
		}
	}
	env, unknown := fromEnviron(environ, names)
	errs = append(errs, unknown...)
	for _, layer := range []map[string]any{env, asAny(flags)} {
		// A secret given in one form replaces the other form of a lower layer; both in one layer is a contradiction.
		for key := range layer {
			if other := otherForm(key, names); other != "" {
				if _, both := layer[other]; !both {
					k.Delete(other)
				}
			}
		}
		if err := k.Load(confmap.Provider(layer, "."), nil); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, readSecretFiles(k, names)...)

	c := defaults()
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		WeaklyTypedInput: true,
		TagName:          "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(),
			func(from, to reflect.Type, value any) (any, error) {
				if to != reflect.TypeFor[secret.String]() {
					return value, nil
				}
				return secret.New(fmt.Sprint(value)), nil
			}),
	}})
	if err != nil {
		errs = append(errs, typeErrors(err)...)
	}
	errs = append(errs, c.complete(need))
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// settings lists the names of all settings below t. The value says whether it is a secret's.
func settings(t reflect.Type, prefix string) map[string]bool {
	names := map[string]bool{}
	for field := range t.Fields() {
		name := prefix + field.Tag.Get("koanf")
		switch {
		case field.Type == reflect.TypeFor[secret.String]():
			names[name] = true
			names[name+"_file"] = false
		case field.Type.Kind() == reflect.Struct:
			for inner, isSecret := range settings(field.Type, name+".") {
				names[inner] = isSecret
			}
		default:
			names[name] = false
		}
	}
	return names
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func fromEnviron(environ []string, names map[string]bool) (map[string]any, []error) {
	byEnv := map[string]string{}
	for key := range names {
		byEnv[envName(key)] = key
	}
	values := map[string]any{}
	var errs []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		// An empty value counts as none: that is what a compose file passes on for a variable nobody set.
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		key, known := byEnv[name]
		if !known {
			errs = append(errs, fmt.Errorf("%s: no setting has this name; deploy/config.example.yaml lists them", name))
			continue
		}
		values[key] = value
	}
	return values, errs
}

func asAny(flags map[string]string) map[string]any {
	values := map[string]any{}
	for key, value := range flags {
		values[key] = value
	}
	return values
}

// otherForm gives x_file for the secret x, and x for x_file.
func otherForm(key string, names map[string]bool) string {
	if names[key] {
		return key + "_file"
	}
	if base, isFile := strings.CutSuffix(key, "_file"); isFile && names[base] {
		return base
	}
	return ""
}

// readSecretFiles puts what the files hold in place of their names. One line end at the end is the editor's, not the secret's.
func readSecretFiles(k *koanf.Koanf, names map[string]bool) (errs []error) {
	for _, key := range k.Keys() {
		base, isFile := strings.CutSuffix(key, "_file")
		if !isFile || !names[base] {
			continue
		}
		path := k.String(key)
		k.Delete(key)
		switch {
		case path == "":
			continue
		case k.String(base) != "":
			errs = append(errs, fmt.Errorf("%s and %s: set one of them, not both", base, key))
			continue
		}
		content, err := os.ReadFile(path)
		if err == nil && (len(content) > maxSecretFile || len(content) == 0) {
			err = errors.New("it is empty or too large to hold a secret")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %w", key, envName(key), err))
			continue
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
		if err := k.Set(base, text); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// typeErrors names the settings whose values did not fit. The library's own texts quote the value, which may be a secret.
func typeErrors(err error) []error {
	var errs []error
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			errs = append(errs, typeErrors(err)...)
		}
		return errs
	}
	var decode *mapstructure.DecodeError
	if errors.As(err, &decode) {
		return []error{fmt.Errorf("%s: the value does not fit; a duration is written like 10m, a number without quotes", decode.Name())}
	}
	return []error{errors.New("the settings have a value of the wrong kind")}
}

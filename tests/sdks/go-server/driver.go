package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	featbit "github.com/featbit/featbit-go-sdk"
	"github.com/featbit/featbit-go-sdk/factories"
	"github.com/featbit/featbit-go-sdk/interfaces"
)

// A value that no flag has: where the SDK gives it back, it has fallen back to its default.
const noValue = "\x00 no flag has this value"

type driver struct {
	errors  *errorLines
	network *watchedNetwork
	client  *featbit.FBClient
}

func (d *driver) start(c *command) error {
	if c.Mode != "streaming" {
		return fmt.Errorf("this SDK has no polling")
	}
	d.errors.forget()
	d.network = &watchedNetwork{builder: factories.NewNetworkBuilder()}
	config := featbit.FBConfig{
		// Zero: the constructor returns at once; `wait-ready` waits.
		StartWait:               0,
		NetworkFactory:          d.network,
		InsightProcessorFactory: factories.ExternalEventTrack(),
	}
	if c.Events {
		config.InsightProcessorFactory = factories.NewInsightProcessorBuilder().FlushInterval(200 * time.Millisecond)
	}
	events := c.EventsURL
	if events == "" {
		events = c.URL
	}
	client, err := featbit.MakeCustomFBClient(c.Secret, strings.Replace(c.URL, "http", "ws", 1), events, config)
	d.client = client
	return err
}

func (d *driver) stop() error {
	if d.client == nil {
		return nil
	}
	client := d.client
	d.client = nil
	return client.Close()
}

func (d *driver) ready() bool {
	return d.client != nil && d.client.IsInitialized()
}

func (d *driver) state() answer {
	now := answer{"ready": d.ready(), "connected": false, "stopped": false, "connects": 0, "posts": []int{}}
	if d.network != nil {
		now["connects"], now["connected"] = d.network.connects()
		now["posts"] = d.network.posts()
	}
	if d.client != nil {
		state := d.client.GetDataUpdateStatusProvider().GetCurrentState()
		kind := state.ErrorTrack.ErrorType
		// It calls itself off after any close code but 1001, and comes back all the same.
		final := kind == interfaces.RequestInvalidError || kind == interfaces.DataInvalidError
		now["stopped"] = state.StateType == interfaces.OFF && final && now["connected"] == false
	}
	now["errors"] = d.errors.last()
	return now
}

func sdkUser(u user) (interfaces.FBUser, error) {
	builder := interfaces.NewUserBuilder(u.KeyID).UserName(u.Name)
	for _, property := range u.CustomizedProperties {
		builder = builder.Custom(property.Name, property.Value)
	}
	return builder.Build()
}

func (d *driver) variation(c *command) (answer, error) {
	who, err := sdkUser(c.User)
	if err != nil {
		return nil, err
	}
	text, detail, err := d.client.Variation(c.Key, who, noValue)
	seen := answer{"value": orNull(c.Default), "reason": detail.Reason}
	if err != nil || text == noValue {
		return seen, nil
	}
	var value interface{} = text
	switch c.Type {
	case "boolean":
		value, detail, err = d.client.BoolVariation(c.Key, who, false)
	case "number":
		value, detail, err = d.client.DoubleVariation(c.Key, who, 0)
	case "json":
		value, detail, err = d.client.JsonVariation(c.Key, who, json.RawMessage{})
	}
	if err != nil {
		return seen, nil
	}
	encoded, err := json.Marshal(value)
	return answer{"value": json.RawMessage(encoded), "reason": detail.Reason}, err
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

// all gives the named flags: the SDK does not list those it has.
func (d *driver) all(c *command) (answer, error) {
	who, err := sdkUser(c.User)
	if err != nil {
		return nil, err
	}
	states, err := d.client.AllLatestFlagsVariations(who)
	if err != nil {
		return nil, err
	}
	values := answer{}
	for _, key := range c.Keys {
		if !d.client.IsFlagKnown(key) {
			continue
		}
		value, detail, err := states.GetStringVariation(key, noValue)
		if err != nil || value == noValue {
			continue
		}
		values[key] = answer{"value": value, "reason": detail.Reason}
	}
	return answer{"values": values}, nil
}

func (d *driver) track(c *command) error {
	who, err := sdkUser(c.User)
	if err != nil {
		return err
	}
	var value float64
	if err := json.Unmarshal(c.Value, &value); err != nil {
		return err
	}
	return d.client.TrackNumericMetric(who, c.Event, value)
}

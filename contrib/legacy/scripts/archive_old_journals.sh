#!/bin/sh
exec swarmctl journal archive "$@"

#!/bin/sh
exec swarmctl dashboard --live "$@"

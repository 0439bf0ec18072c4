// Everything a program that builds, trains, saves and runs a network needs. The library's own files include what they use.
#pragma once

#include "core/error.h"

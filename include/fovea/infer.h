// The small runtime: networks from files, pictures, answers. For programs that link fovea::infer; those that link
// fovea::fovea have <fovea/fovea.h>.
#pragma once

#include "core/error.h"
#include "core/threads/parallel.h"
#include "image/decode.h"
#include "infer/graph/network.h"

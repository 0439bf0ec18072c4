// Everything a program that builds, trains, saves and runs a network needs. The library's own files include what they
// use.
#pragma once

#include "augment/image_folder.h"
#include "augment/open.h"
#include "augment/transform.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "core/threads/parallel.h"
#include "layers/module.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/model.h"
#include "train/evaluation.h"
#include "train/optimizer.h"
#include "train/trainer.h"

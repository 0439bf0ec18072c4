// All modules and losses: what a program that builds and trains a network includes.
#pragma once

#include "layers/module.h"
#include "layers/modules/activation.h"
#include "layers/modules/containers.h"
#include "layers/modules/conv2d.h"
#include "layers/modules/dense.h"
#include "layers/modules/norm.h"
#include "layers/modules/simple.h"
#include "layers/ops/loss.h"

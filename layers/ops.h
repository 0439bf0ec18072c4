// All differentiable ops.
#pragma once

#include "layers/ops/activation.h"
#include "layers/ops/arithmetic.h"
#include "layers/ops/conv2d.h"
#include "layers/ops/dense.h"
#include "layers/ops/loss.h"
#include "layers/ops/norm.h"
#include "layers/ops/pool2d.h"
#include "layers/ops/quantize.h"
#include "layers/ops/reduce.h"
#include "layers/ops/shape_ops.h"

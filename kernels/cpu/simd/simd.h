// The Highway implementations as the lists in kernels/<family>.cc name them: f32 on the CPU, dispatched at run time to
// the best instruction set (SSSE3, AVX2, AVX-512, NEON).
#pragma once

#include "kernels/problems.h"

namespace fovea::kernels::simd {

const char* declines(const BatchNormProblem&);
void batch_norm_training(const BatchNormProblem&);
void batch_norm_inference(const BatchNormProblem&);
void batch_norm_backward(const BatchNormProblem&);

const char* declines(const ActivationProblem&);
// Apart: the small runtime leaves out what only training calls.
void activation_forward(const ActivationProblem&);
void activation_backward(const ActivationProblem&);

const char* declines(const Pool2dProblem&);
void pool2d(const Pool2dProblem&);
const char* declines(const AveragePoolProblem&);
void global_average_pool(const AveragePoolProblem&);

/// Depthwise convolution, all three directions.
const char* depthwise_declines(const Conv2dProblem&);
void depthwise_conv2d(const Conv2dProblem&);

const char* declines(const BinaryProblem&);
void binary(const BinaryProblem&);
const char* declines(const ReduceToProblem&);
void reduce_to(const ReduceToProblem&);
const char* declines(const ReduceProblem&);
void reduce(const ReduceProblem&);
const char* declines(const AffineProblem&);
void affine(const AffineProblem&);
const char* declines(const ConcatProblem&);
void concat(const ConcatProblem&);
const char* declines(const SoftmaxProblem&);
void softmax(const SoftmaxProblem&);
const char* declines(const DropoutProblem&);
void dropout(const DropoutProblem&);

const char* declines(const SgdProblem&);
void sgd(const SgdProblem&);
const char* declines(const AdamProblem&);
void adam(const AdamProblem&);
const char* declines(const RmspropProblem&);
void rmsprop(const RmspropProblem&);
const char* declines(const ScanProblem&);
void sum_of_squares(const ScanProblem&);
void all_finite(const ScanProblem&);
const char* declines(const UpdateProblem&);
void update(const UpdateProblem&);

}  // namespace fovea::kernels::simd

// The factories of all ops: what register_ops() registers. Each stands in its op's .cc.
#pragma once

#include "core/graph/op.h"

namespace fovea::ops {

OpPtr make_conv2d(const Attributes& a);
OpPtr make_conv_transpose2d(const Attributes& a);
OpPtr make_max_pool2d(const Attributes& a);
OpPtr make_avg_pool2d(const Attributes& a);
OpPtr make_global_average_pool(const Attributes& a);
OpPtr make_adaptive_average_pool(const Attributes& a);
OpPtr make_dense(const Attributes& a);
OpPtr make_matmul(const Attributes& a);
OpPtr make_batch_norm(const Attributes& a);
OpPtr make_layer_norm(const Attributes& a);
OpPtr make_group_norm(const Attributes& a);
OpPtr make_relu(const Attributes& a);
OpPtr make_relu6(const Attributes& a);
OpPtr make_leaky_relu(const Attributes& a);
OpPtr make_sigmoid(const Attributes& a);
OpPtr make_silu(const Attributes& a);
OpPtr make_hard_swish(const Attributes& a);
OpPtr make_hard_sigmoid(const Attributes& a);
OpPtr make_gelu(const Attributes& a);
OpPtr make_gelu_tanh(const Attributes& a);
OpPtr make_tanh(const Attributes& a);
OpPtr make_add(const Attributes& a);
OpPtr make_subtract(const Attributes& a);
OpPtr make_multiply(const Attributes& a);
OpPtr make_affine(const Attributes& a);
OpPtr make_concat(const Attributes& a);
OpPtr make_flatten(const Attributes& a);
OpPtr make_reshape(const Attributes& a);
OpPtr make_slice_batch(const Attributes& a);
OpPtr make_identity(const Attributes& a);
OpPtr make_softmax(const Attributes& a);
OpPtr make_log_softmax(const Attributes& a);
OpPtr make_dropout(const Attributes& a);
OpPtr make_resize(const Attributes& a);
OpPtr make_sum(const Attributes& a);
OpPtr make_mean(const Attributes& a);
OpPtr make_max(const Attributes& a);
OpPtr make_cross_entropy(const Attributes& a);
OpPtr make_binary_cross_entropy(const Attributes& a);
OpPtr make_focal(const Attributes& a);
OpPtr make_sigmoid_focal(const Attributes& a);
OpPtr make_mean_squared_error(const Attributes& a);
OpPtr make_fake_quantize(const Attributes& a);

}  // namespace fovea::ops

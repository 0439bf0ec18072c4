#include "layers/register_ops.h"

#include "layers/ops/factories.h"

namespace fovea {

void register_ops() {
  struct Entry {
    const char* type;
    OpFactory factory;
  };
  using namespace ops;
  static constexpr Entry kEntries[] = {
      {"conv2d", make_conv2d},
      {"conv_transpose2d", make_conv_transpose2d},
      {"max_pool2d", make_max_pool2d},
      {"avg_pool2d", make_avg_pool2d},
      {"global_average_pool", make_global_average_pool},
      {"adaptive_average_pool", make_adaptive_average_pool},
      {"dense", make_dense},
      {"matmul", make_matmul},
      {"batch_norm", make_batch_norm},
      {"layer_norm", make_layer_norm},
      {"group_norm", make_group_norm},
      {"relu", make_relu},
      {"relu6", make_relu6},
      {"leaky_relu", make_leaky_relu},
      {"sigmoid", make_sigmoid},
      {"silu", make_silu},
      {"hard_swish", make_hard_swish},
      {"hard_sigmoid", make_hard_sigmoid},
      {"gelu", make_gelu},
      {"gelu_tanh", make_gelu_tanh},
      {"tanh", make_tanh},
      {"add", make_add},
      {"subtract", make_subtract},
      {"multiply", make_multiply},
      {"affine", make_affine},
      {"concat", make_concat},
      {"flatten", make_flatten},
      {"reshape", make_reshape},
      {"slice_batch", make_slice_batch},
      {"identity", make_identity},
      {"softmax", make_softmax},
      {"log_softmax", make_log_softmax},
      {"dropout", make_dropout},
      {"resize", make_resize},
      {"sum", make_sum},
      {"mean", make_mean},
      {"max", make_max},
      {"cross_entropy", make_cross_entropy},
      {"binary_cross_entropy", make_binary_cross_entropy},
      {"focal", make_focal},
      {"sigmoid_focal", make_sigmoid_focal},
      {"mean_squared_error", make_mean_squared_error},
      {"fake_quantize", make_fake_quantize},
  };
  for (const Entry& entry : kEntries) register_op(entry.type, entry.factory);
}

}  // namespace fovea

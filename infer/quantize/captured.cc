#include "infer/quantize/captured_internal.h"

namespace fovea::infer {

NetworkFile captured(const Model& model) {
  OpRecords records = model.capture(1).records();
  for (OpRecords::Value& value : records.values) {  // rewrites work on the CPU
    if (value.tensor.defined()) value.tensor = value.tensor.to(kCpu);
  }
  NetworkFile network{make_graph(records), model.preprocessing, model.class_names, model.architecture};
  fold_norms(network.graph);
  fuse_epilogues(network.graph);
  return network;
}

}  // namespace fovea::infer

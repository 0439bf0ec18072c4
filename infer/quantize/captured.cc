#include "infer/quantize/captured_internal.h"

namespace fovea::infer {

NetworkFile captured(const Model& model) {
  NetworkFile network{make_graph(model.capture(1).records()), model.preprocessing, model.class_names,
                      model.architecture};
  fold_norms(network.graph);
  fuse_epilogues(network.graph);
  return network;
}

}  // namespace fovea::infer

#include "kernels/device_graph.h"

#include "core/error.h"
#include "kernels/devices.h"

#ifdef FOVEA_CUDA
#include "kernels/cuda/graph.h"
#else
struct fovea::DeviceGraph::Impl {};
#endif

namespace fovea {

DeviceGraph DeviceGraph::record(Device device, const std::function<void()>& work, const Options& options) {
  if (device.type != DeviceType::cuda)
    throw Error(ErrorKind::device, "graph", str("work is recorded on GPUs, not on ", device.to_string()));
  DeviceGraph graph;
#ifdef FOVEA_CUDA
  graph.impl_ = kernels::cuda::record(device.index, work, options);
#else
  (void)work;
  (void)options;
  gpu(device.index);  // throws, and says why
#endif
  return graph;
}

void DeviceGraph::launch(std::uint64_t ahead) const {
  if (!impl_) throw Error(ErrorKind::usage, "graph", "nothing is recorded", "record it with DeviceGraph::record");
#ifdef FOVEA_CUDA
  kernels::cuda::launch(*impl_, ahead);
#else
  (void)ahead;
#endif
}

std::size_t DeviceGraph::memory_bytes() const {
#ifdef FOVEA_CUDA
  if (impl_) return kernels::cuda::memory_bytes(*impl_);
#endif
  return 0;
}

}  // namespace fovea

// What stands behind DeviceGraph, and what the backend does differently while a thread records one.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/graph_pool.h"
#include "kernels/cuda/runtime.h"
#include "kernels/device_graph.h"

namespace fovea::kernels::cuda {

/// This thread's recording: its runs take memory from a pool of their own, whose addresses the graph keeps.
struct Recording {
  int device = 0;
  bool constant_weights = false;
  cudaStream_t capture = nullptr;  ///< during the run that is recorded: instead of the GPU's stream
  std::shared_ptr<GraphPool> pool;
  const std::uint64_t* ahead = nullptr;           ///< in GPU memory: how far on random streams are
  std::vector<std::shared_ptr<const void>> kept;  ///< what the graph must keep alive
};
/// This thread's, if it is one of that GPU; else nullptr.
Recording* recording(int device);

/// While alive, what this thread allocates is not the recording's.
class OutsideRecording {
 public:
  OutsideRecording();
  ~OutsideRecording();
  OutsideRecording(const OutsideRecording&) = delete;
  OutsideRecording& operator=(const OutsideRecording&) = delete;

 private:
  Recording* outer_;
};

std::shared_ptr<const DeviceGraph::Impl> record(int device, const std::function<void()>& work,
                                                const DeviceGraph::Options& options);
void launch(const DeviceGraph::Impl& graph, std::uint64_t ahead);
std::size_t memory_bytes(const DeviceGraph::Impl& graph);

}  // namespace fovea::kernels::cuda

#include "kernels/cuda/graph.h"

#include <array>

#include "core/error.h"
#include "kernels/cuda/library_handles.h"

namespace fovea {

struct DeviceGraph::Impl {
  explicit Impl(int index) : device(index) {}
  ~Impl() {
    if (exec) cudaGraphExecDestroy(exec);
    cudaGetLastError();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  int device;
  std::shared_ptr<kernels::cuda::GraphPool> pool;
  std::unique_ptr<kernels::cuda::Scratch> ahead;  // one std::uint64_t
  mutable std::uint64_t ahead_now = 0;
  std::vector<std::shared_ptr<const void>> kept;
  cudaGraphExec_t exec = nullptr;
};

namespace kernels::cuda {
namespace {

thread_local Recording* mine = nullptr;

/// Recordings take turns: while one captures, the libraries' second handles are its.
struct CaptureStream {
  std::mutex mutex;
  cudaStream_t stream = nullptr;
};
CaptureStream& capture_stream(int index) {
  static auto* all = new std::array<CaptureStream, kMaxDevices>;  // the driver may be gone at the end
  return (*all)[static_cast<std::size_t>(index)];
}

struct Active {
  explicit Active(Recording& recording) {
    if (mine) throw Error(ErrorKind::usage, "graph", "a recording within a recording");
    mine = &recording;
  }
  ~Active() { mine = nullptr; }
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;
};

struct DestroyGraph {
  void operator()(CUgraph_st* graph) const { cudaGraphDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraph_st, DestroyGraph>;

/// What `work` queues, instead of running it.
Graph captured(Recording& recording, const std::function<void()>& work) {
  CaptureStream& own = capture_stream(recording.device);
  const std::lock_guard lock(own.mutex);
  if (!own.stream) check(cudaStreamCreateWithFlags(&own.stream, cudaStreamNonBlocking), "cudaStreamCreate");
  prepare_recording(recording.device, own.stream);
  // Only this thread's calls are judged: others may allocate and wait meanwhile.
  check(cudaStreamBeginCapture(own.stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  recording.capture = own.stream;
  const auto end = [&] {
    recording.capture = nullptr;
    cudaGraph_t made = nullptr;
    const cudaError_t status = cudaStreamEndCapture(own.stream, &made);
    return std::pair(Graph(made), status);
  };
  try {
    work();
  } catch (...) {
    end();
    cudaGetLastError();
    throw;
  }
  auto [graph, status] = end();
  check(status, "the recording of a CUDA graph");
  return std::move(graph);
}

}  // namespace

Recording* recording(int device) { return mine && mine->device == device ? mine : nullptr; }

OutsideRecording::OutsideRecording() : outer_(mine) { mine = nullptr; }
OutsideRecording::~OutsideRecording() { mine = outer_; }

std::shared_ptr<const DeviceGraph::Impl> record(int device, const std::function<void()>& work,
                                                const DeviceGraph::Options& options) {
  stream(device);
  auto graph = std::make_shared<DeviceGraph::Impl>(device);
  graph->ahead = std::make_unique<Scratch>(sizeof(std::uint64_t), device);
  backend({DeviceType::cuda, device}).zero(graph->ahead->data(), sizeof(std::uint64_t), device);
  graph->pool = std::make_shared<GraphPool>(device);
  Recording recording;
  recording.device = device;
  recording.constant_weights = options.constant_weights;
  recording.pool = graph->pool;
  recording.ahead = graph->ahead->as<std::uint64_t>();
  const Active active(recording);
  // The first run makes what is made once (plans, handles). The second begins with the results of the first alive, as
  // the third does with those of the second, and so finds the pool as that one will.
  work();
  work();
  const Graph recorded = captured(recording, work);
  check(cudaGraphInstantiate(&graph->exec, recorded.get(), 0), "cudaGraphInstantiate");
  graph->kept = std::move(recording.kept);
  return graph;
}

void launch(const DeviceGraph::Impl& graph, std::uint64_t ahead) {
  const cudaStream_t queue = stream(graph.device);
  if (ahead != graph.ahead_now) {
    copy_to_device(graph.ahead->data(), &ahead, sizeof ahead, graph.device);
    graph.ahead_now = ahead;
  }
  check(cudaGraphLaunch(graph.exec, queue), "cudaGraphLaunch");
}

std::size_t memory_bytes(const DeviceGraph::Impl& graph) { return graph.pool->bytes(); }

}  // namespace kernels::cuda
}  // namespace fovea

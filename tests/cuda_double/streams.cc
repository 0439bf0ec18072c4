// The CUDA runtime of the test double: streams, events and graphs. See cuda_double.h.
#include "state.h"

using namespace fovea::cuda_double;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  *stream = new CUstream_st;
  (*stream)->device = current;
  (*stream)->id = ++st.streams_made;
  st.streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  State& st = state();
  const std::lock_guard lock(st.mutex);
  drain(stream, stream->queued);
  std::erase(st.streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  if (stream->capture) broken("cudaStreamSynchronize: in a captured stream");
  drain(stream, stream->queued);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  (*event)->device = current;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(state().mutex);
  if (event->device != stream->device) broken("cudaEventRecord: the event belongs to another GPU than the stream");
  event->stream = stream;
  event->stream_id = stream->id;
  event->position = stream->queued;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(state().mutex);
  if (event->stream) drain_if_live(event->stream, event->stream_id, event->position);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 1;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(state().mutex);
  CUstream_st* other = event->stream;
  const std::uint64_t id = event->stream_id, position = event->position;
  const auto reached = [=] { drain_if_live(other, id, position); };
  if (other && other != stream) enqueue_when(stream, "wait", reached, [] {});
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->capture) broken("cudaStreamBeginCapture: already capturing");
  stream->capture = std::make_unique<CUgraph_st>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capture) broken("cudaStreamEndCapture: not capturing");
  *graph = stream->capture.release();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (fails_now("launch")) return fail_with(cudaErrorLaunchOutOfResources);
  ++state().launches;
  for (const Work& work : exec->work) {
    for (const auto& [data, bytes] : work.memory) check_device_memory(data, bytes, work.name);
    enqueue(stream, work.name, work.run);
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

}  // extern "C"

// Several GPUs: ranks that are threads, each with a GPU, add up by NCCL.
#ifdef FOVEA_NCCL
#include "kernels/gpu_ranks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "core/distributed/communicator.h"
#include "cuda/both.h"
#include "kernels/elementwise.h"
#include "tests/thread_ranks.h"

#ifdef FOVEA_CUDA_DOUBLE
#include "nccl_double.h"
#endif

using namespace fovea;
using namespace fovea::test;

namespace {

/// Two ranks, rank r on cuda:r.
void run_gpu_ranks(const std::function<void(Communicator&, Device)>& body) {
  run_ranks(2, [&](Communicator& hosts) {
    const Device device = gpu_of_rank(hosts.rank(), 2);
    const std::unique_ptr<Communicator> ranks = gpu_ranks(hosts, device);
    body(*ranks, device);
  });
}

#ifdef FOVEA_CUDA_DOUBLE
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// CHECK for several threads, where Catch2 has none.
class Checks {
 public:
  void operator()(bool good, const char* what) {
    const std::lock_guard lock(mutex_);
    if (!good) wrong_ += str(what, "; ");
  }
  const std::string& wrong() const { return wrong_; }

 private:
  std::mutex mutex_;
  std::string wrong_;
};
#endif

}  // namespace

TEST_CASE("the library of NCCL is there, with or without a GPU") {
  CHECK(nccl_unavailable() == "");  // it was when this was built
}

TEST_CASE("ranks on GPUs: sums follow the work that made them, and later work follows them", "[gpu]") {
  FOVEA_NEEDS_TWO_GPUS();
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t copied = cuda_double::copied_bytes(), comms = cuda_double::live_nccl_comms();
#endif
  std::vector<double> results[2];
  run_gpu_ranks([&](Communicator& ranks, Device device) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      // Each operand is made on the GPU just before, and each result is read on the GPU just behind.
      Tensor x = Tensor::zeros({1000}, dtype, device), y = Tensor::zeros({3}, dtype, device), none({0}, dtype, device);
      kernels::affine(1, ranks.rank() + 1, x.view(), x.mutable_view());
      kernels::affine(1, 10, y.view(), y.mutable_view());
      const auto first = ranks.start_sum(x.mutable_view()), second = ranks.start_sum(y.mutable_view()),
                 third = ranks.start_sum(none.mutable_view());
      ranks.progress();
      ranks.wait(second);
      kernels::affine(2, 0, y.view(), y.mutable_view());
      ranks.sum(y.mutable_view());
      ranks.wait(first);
      ranks.wait(third);
      kernels::affine(1, 0.5, x.view(), x.mutable_view());
      std::vector<double>& to = results[ranks.rank()];
      for (const Tensor& t : {x, y}) {
        const std::vector<double> v = t.to_vector<double>();
        to.insert(to.end(), v.begin(), v.end());
      }
    }
  });
  std::vector<double> expected(1000, 3.5);
  expected.insert(expected.end(), 3, 80);
  expected.insert(expected.end(), expected.begin(), expected.begin() + 1003);
  CHECK(results[0] == expected);
  CHECK(results[1] == expected);
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::copied_bytes() - copied == 2 * 1003 * (4 + 8));  // the results, to be looked at
  CHECK(cuda_double::live_nccl_comms() == comms);
#endif
}

#ifdef FOVEA_CUDA_DOUBLE

TEST_CASE("ranks on GPUs: bytes are broadcast, and what lies on the host goes by the other engine") {
  Checks check;
  run_gpu_ranks([&](Communicator& ranks, Device device) {
    const int rank = ranks.rank();
    check(device.index == rank, "each has its own GPU");
    Tensor labels = Tensor::from<std::int64_t>({3}, {rank, 10 + rank, 20 + rank}).to(device);
    ranks.broadcast(labels.mutable_view(), 1);
    check(labels.to_vector<double>() == std::vector<double>{1, 11, 21}, "rank 1's are everybody's");
    ranks.barrier();
    const std::int64_t calls = cuda_double::nccl_calls();
    Tensor here = Tensor::from<float>({2}, {1, static_cast<float>(rank)});
    const auto ticket = ranks.start_sum(here.mutable_view());
    ranks.wait(ticket);
    ranks.broadcast(here.mutable_view(), 0);
    double numbers[] = {2.5, 1};
    ranks.sum(numbers);
    ranks.barrier();
    check(here.to_vector<double>() == std::vector<double>{2, 1} && numbers[0] == 5, "sums on the host");
    check(ranks.processors() == 1, "processors of the host");
    check(cuda_double::nccl_calls() == calls, "nothing of it by NCCL");
    check(contains(error_of([&] { ranks.wait(ticket); }), "was not started"), "a ticket is waited for once");
    ranks.barrier();
  });
  CHECK(check.wrong() == "");
}

TEST_CASE("ranks on GPUs: what cannot be is refused") {
  CHECK(gpu_of_rank(1, 2).index == 1);
  const std::string few = error_of([] { gpu_of_rank(0, 3); });
  CHECK(contains(few, "2 GPUs for 3 ranks"));
  CHECK(contains(few, "start at most 2"));
  // On all ranks alike, so that none waits.
  CHECK(contains(error_of([] { run_ranks(2, [](Communicator& hosts) { gpu_ranks(hosts, gpu(0)); }); }),
                 "ranks 0 and 1 have the same GPU"));
  CHECK(contains(error_of([] { run_ranks(1, [](Communicator& hosts) { gpu_ranks(hosts, kCpu); }); }), "not on cpu"));
  Checks check;
  run_gpu_ranks([&](Communicator& ranks, Device device) {
    Tensor other({2}, DType::f32, gpu(1 - device.index)), labels({2}, DType::i64, device);
    const std::string wrong = error_of([&] { ranks.sum(other.mutable_view()); });
    check(contains(wrong, str("lie on ", device).c_str()), "its own GPU is named");
    check(contains(wrong, str("not on ", other.device()).c_str()), "and the other");
    check(contains(error_of([&] { ranks.start_sum(labels.mutable_view()); }), "sums are of f32 or f64"), "types");
  });
  CHECK(check.wrong() == "");
}

TEST_CASE("ranks on GPUs: NCCL's failures are errors, and nothing hangs or leaks") {
  const std::int64_t comms = cuda_double::live_nccl_comms();
  // What all ranks have to say.
  const auto run = [](const std::function<void(Communicator&)>& before) {
    std::string said[2];
    run_ranks(2, [&](Communicator& hosts) {
      said[hosts.rank()] = error_of([&] {
        const Device device = gpu(hosts.rank());
        try {
          const std::unique_ptr<Communicator> ranks = gpu_ranks(hosts, device);
          Tensor x = Tensor::ones({100}, DType::f32, device);
          ranks->sum(x.mutable_view());
          before(*ranks);
          ranks->wait(ranks->start_sum(x.mutable_view()));
          x.to(kCpu);  // waits for the GPU
          ranks->progress();
        } catch (...) {
          static_cast<ThreadRank&>(hosts).leave();
          throw;
        }
      });
    });
    return said[0] + said[1];
  };
  for (const char* call : {"ncclGetUniqueId", "ncclCommInitRank", "nccl"}) {
    INFO(call);
    cuda_double::fail(call, 0, 1);
    const std::string text = run([](Communicator&) {});
    cuda_double::stop_failing();
    INFO(text);
    CHECK(contains(text, "NCCL says ncclSystemError"));
    CHECK(contains(text, "NCCL_DEBUG"));
    CHECK(cuda_double::live_nccl_comms() == comms);
  }
  // A call that fails behind its return.
  cuda_double::fail("nccl later", 2, 1);
  CHECK(contains(run([](Communicator&) {}), "ncclAllReduce: NCCL says ncclRemoteError"));
  cuda_double::stop_failing();
  // A connection that breaks while both wait for the GPU.
  CHECK(contains(run([](Communicator& ranks) {
                   if (ranks.rank() == 0) cuda_double::break_nccl(1, ncclRemoteError);
                 }),
                 "NCCL says ncclRemoteError"));
  // A rank that leaves, by an exception or by abort().
  CHECK(contains(run([](Communicator& ranks) {
                   if (ranks.rank() == 1) throw Error(ErrorKind::usage, "rank 1", "has enough");
                 }),
                 "NCCL says ncclRemoteError"));
  CHECK(contains(run([](Communicator& ranks) {
                   if (ranks.rank() == 1) ranks.abort(3);
                 }),
                 "rank 1 ended all with 3"));
  CHECK(cuda_double::live_nccl_comms() == comms);
  // And then all is well again.
  CHECK(run([](Communicator&) {}).empty());
}

namespace {

/// What a child process that runs `f` says on standard error before it is ended by the double.
std::string last_words(const std::function<void()>& f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], 2);
    ::signal(SIGABRT, SIG_DFL);
    cuda_double::set_nccl_patience(0.2);
    f();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text(4096, 0);
  std::size_t length = 0;
  for (ssize_t got = 1; got > 0 && length < text.size(); length += static_cast<std::size_t>(got > 0 ? got : 0))
    got = ::read(ends[0], text.data() + length, text.size() - length);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  text.resize(length);
  return text;
}

}  // namespace

TEST_CASE("the double of NCCL: ranks that differ end the test with both sides' calls") {
  const auto ranks_do = [](const std::function<void(Communicator&, Tensor&)>& calls) {
    return last_words([&] {
      run_gpu_ranks([&](Communicator& ranks, Device device) {
        Tensor x = Tensor::ones({100}, DType::f32, device);
        ranks.sum(x.mutable_view());
        calls(ranks, x);
        x.to(kCpu);
      });
    });
  };
  CHECK(contains(ranks_do([](Communicator& ranks, Tensor& x) {
                   Tensor y = x.slice(0, 50 + ranks.rank());
                   ranks.sum(y.mutable_view());
                 }),
                 "the ranks' calls 1 differ: ncclAllReduce of 5"));
  const std::string dead = ranks_do([](Communicator& ranks, Tensor& x) {
    if (ranks.rank() == 0) ranks.sum(x.mutable_view());
    if (ranks.rank() == 0) x.to(kCpu);
    ranks.barrier();
  });
  CHECK(contains(dead, "deadlock: ncclAllReduce of 100 f32, call 1 of rank 0, waits for rank 1"));
  CHECK(contains(dead, "whose last was call 0: ncclAllReduce of 100 f32"));
}
#endif
#endif

#include "core/distributed/communicator.h"

#include "core/error.h"

namespace fovea {

Communicator::Communicator(int rank, int size) : rank_(rank), size_(size) {
  if (size < 1 || rank < 0 || rank >= size)
    throw Error(ErrorKind::usage, "communicator", str("there is no rank ", rank, " of ", size));
}

Communicator::~Communicator() = default;

void Communicator::check_sum(const View& buffer) {
  if (buffer.dtype != DType::f32 && buffer.dtype != DType::f64)
    throw Error(ErrorKind::usage, "communicator", str("sums are of f32 or f64, not ", to_string(buffer.dtype)));
}

void Communicator::sum(std::span<double> numbers) {
  sum(View{numbers.data(), Shape{static_cast<std::int64_t>(numbers.size())}, DType::f64, kCpu, 0, 0});
}

}  // namespace fovea

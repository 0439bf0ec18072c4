// Damaged HDF5 files, in all versions of the format: as files of anything, and as Keras files, every tensor of which is
// read. Checksums guard the newer versions, so damage is also fed without looking at them.
#include <memory>

#include "core/error.h"
#include "fuzz/driver.h"
#include "fuzz/seed_files.h"
#include "models/hdf5_walk.h"
#include "models/weights/weight_file.h"

using namespace fovea;

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds = fuzz::files_in(FOVEA_SOURCE_DIR "/tests/models/data", {".h5"});
  fuzz::add_golden(seeds, {".h5"});
  return seeds;
}

namespace {

template <class Action>
void attempt(const Action& action) {
  try {
    action();
  } catch (const Error&) {
    // the right answer to damage
  }
}

void touch(const Tensor& tensor) {
  unsigned sum = 0;
  const auto* p = static_cast<const std::uint8_t*>(tensor.view().data);
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) sum += p[i];
  [[maybe_unused]] const volatile unsigned sink = sum;  // so that the reads are not left out
}

void feed(const std::shared_ptr<std::vector<std::uint8_t>>& bytes) {
  attempt([&] {
    weights::hdf5::File file(*bytes, bytes, "fuzz");
    for (const auto& [path, address] : objects(file)) {
      // One that is damaged does not hide the others.
      const auto one = [&, &name = path, at = address] { read_object(file, name, at); };
      attempt(one);
    }
    for (const char* path : {"soft", "round", "outside", "many/again/again", "model_weights/dense/dense/kernel"}) {
      attempt([&] { file.find(file.root(), path); });
    }
  });
  attempt([&] {
    const weights::WeightFile file = weights::parse_hdf5(*bytes, bytes, "fuzz");
    for (const weights::FileTensor& tensor : file.tensors) {
      attempt([&] {
        const Tensor values = tensor.read();
        if (values.shape() != tensor.shape || values.dtype() != tensor.dtype) __builtin_trap();
        touch(values);
      });
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size on the heap: one byte too far is seen by the sanitizer.
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(data, data + size);
  for (const bool verify : {true, false}) {
    weights::hdf5::verify_checksums = verify;
    feed(bytes);
  }
  // A file that ends too early says so in its head: the old one is told the truth, so that reading goes on.
  if (size > 48 && (*bytes)[8] < 2) {
    for (std::size_t i = 0; i < 8; ++i) (*bytes)[40 + i] = static_cast<std::uint8_t>(size >> 8 * i);
    feed(bytes);
  }
  return 0;
}

// What is on this picture? A program for a device that only answers: it links fovea_infer, the small runtime without
// layers, gradients or training, and knows nothing of the network but the file it stands in.
//
//   example_classify_picture birds.fovea robin.jpg
//
// The file comes from `fovea compile`, from `fovea quantize` (a quarter of the size), or is a trained model itself.
#include <fovea/infer.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

using namespace fovea;

namespace {

/// Logits are any numbers; as probabilities they sum to 1. Taking the greatest away first keeps exp() in range.
std::vector<float> probabilities(const Tensor& logits) {
  std::vector<float> p = logits.to_vector<float>();
  const float greatest = *std::max_element(p.begin(), p.end());
  for (float& v : p) v = std::exp(v - greatest);
  const float sum = std::accumulate(p.begin(), p.end(), 0.0f);
  for (float& v : p) v /= sum;
  return p;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: example_classify_picture NETWORK.fovea PICTURE...\n");
    return 2;
  }
  try {
    // Once per program: reads the file, packs the weights for this CPU, and lets go of the file.
    infer::Network network = infer::load(argv[1]);
    for (int i = 2; i < argc; ++i) {
      // The network's conventions (size, crop, normalisation) came with its file: nothing to get wrong here.
      const std::vector<float> p = probabilities(network(image::read_image(argv[i])));
      const auto best = static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
      const std::vector<std::string>& names = network.class_names();
      const std::string name = best < names.size() ? names[best] : "class " + std::to_string(best);
      std::printf("%s: %s (%.1f %%)\n", argv[i], name.c_str(), 100 * static_cast<double>(p[best]));
    }
  } catch (const Error& e) {  // says what was expected, what came, and what to do
    std::fprintf(stderr, "example_classify_picture: %s\n", e.what());
    return 1;
  }
  return 0;
}

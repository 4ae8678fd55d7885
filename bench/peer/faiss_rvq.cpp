// faiss's product residual quantiser at what mapl-bench measures as rvq/encode: groups of 8 columns,
// 2 rounds of 256 entries, no beam, Gaussian rows. Prints columns, rows/s and relative error. Built
// and run by bench/rvq.sh.
#include <faiss/impl/ProductAdditiveQuantizer.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const size_t columns = std::strtoul(argv[i], nullptr, 10);
    std::mt19937 random(1);
    std::normal_distribution<float> gaussian;
    const auto rows = [&](size_t count) {
      std::vector<float> x(count * columns);
      for (float& value : x) value = gaussian(random);
      return x;
    };
    faiss::ProductResidualQuantizer quantizer(columns, columns / 8, 2, 8);
    for (auto* part : quantizer.quantizers) {
      static_cast<faiss::ResidualQuantizer*>(part)->max_beam_size = 1;
    }
    const auto train = rows(20000);
    quantizer.train(20000, train.data());
    const size_t count = 4096;
    const auto x = rows(count);
    std::vector<uint8_t> codes(count * quantizer.code_size);
    std::vector<double> seconds;
    for (int run = 0; run < 9; ++run) {
      const auto start = std::chrono::steady_clock::now();
      quantizer.compute_codes(x.data(), codes.data(), count);
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::vector<float> back(x.size());
    quantizer.decode(codes.data(), back.data(), count);
    double lost = 0, whole = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      lost += std::pow(x[k] - back[k], 2);
      whole += std::pow(x[k], 2);
    }
    std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
    std::printf("%zu %.0f %.4f\n", columns, static_cast<double>(count) / seconds[4],
                std::sqrt(lost / whole));
  }
}

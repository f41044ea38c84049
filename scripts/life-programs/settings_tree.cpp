// C++: a tree of settings by shared pointers, read, copied where it changes, printed; older ones are freed.
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

struct Node {
    std::string name, value;
    std::vector<std::shared_ptr<const Node>> inner;
};

using Tree = std::shared_ptr<const Node>;

static Tree read(std::mt19937 &dice, int depth) {
    auto node = std::make_shared<Node>();
    node->name = "setting-" + std::to_string(dice() % 1000);
    if (depth == 0 || dice() % 5 == 0) {
        node->value = std::string(dice() % 60, 'v');
        return node;
    }
    unsigned count = 2 + dice() % 5;
    for (unsigned at = 0; at < count; at++) node->inner.push_back(read(dice, depth - 1));
    return node;
}

static Tree changed(const Tree &tree, std::mt19937 &dice) {
    auto node = std::make_shared<Node>(*tree);
    if (node->inner.empty())
        node->value = "changed to " + std::to_string(dice());
    else {
        Tree &one = node->inner[dice() % node->inner.size()];
        one = changed(one, dice);
    }
    return node;
}

static void print(const Node &node, std::string &out) {
    out += node.name + "=" + node.value + "\n";
    for (const Tree &inner : node.inner) print(*inner, out);
}

int main() {
    std::mt19937 dice(74);
    std::deque<Tree> versions{read(dice, 6)};
    size_t length = 0;
    for (int round = 0; round < 300000; round++) {
        versions.push_back(changed(versions.back(), dice));
        if (versions.size() > 400) versions.pop_front();
        if (round % 3000 == 0) {
            std::string out;
            print(*versions.back(), out);
            length += out.size();
            versions.push_back(read(dice, 6));
        }
    }
    std::printf("%zu %zu\n", versions.size(), length);
}

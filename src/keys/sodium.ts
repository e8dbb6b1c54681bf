/** libsodium, initialised. It is WebAssembly, which starts asynchronously. */

import sodium from 'libsodium-wrappers-sumo';

await sodium.ready;

export { sodium };

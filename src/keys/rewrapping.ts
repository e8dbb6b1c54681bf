/** Rewrapping where the model key itself comes into this process. */

import type { KeyCustody, ModelKeyContext } from './custody.ts';

/**
 * Opens a wrapped key and wraps it under the newest wrapping key. The key between the two is zeroed, also when wrapping fails.
 *
 * @throws RefusalError as `unwrap` and `wrap`
 */
export async function rewrapHere(
  custody: Pick<KeyCustody, 'wrap' | 'unwrap'>,
  wrapped: Uint8Array,
  context: ModelKeyContext,
): Promise<Uint8Array> {
  const key = await custody.unwrap(wrapped, context);
  try {
    return await custody.wrap(key, context);
  } finally {
    key.fill(0);
  }
}

/** Whether a model statement is over just these files (docs/spec/sealed-weights.md section 11). */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { isIgnored, PASSED_OVER, type FileDigest, type ModelStatement } from './model-statement.ts';

export const modelSigningRefusals = defineRefusals('inauthentic', {
  'model-signature-files': {
    means: 'A model signature is over other files than those of the bundle.',
    hint: 'It was made for another model or another sealing; export it again from this bundle.',
  },
});

/**
 * SW-65, SW-66: what is neither signed nor passed over is missing, what is signed and not there is too much.
 *
 * @throws RefusalError `model-signature-files`
 */
export function compareFiles(
  { resources, ignoredPaths }: Pick<ModelStatement, 'resources' | 'ignoredPaths'>,
  files: readonly FileDigest[],
): void {
  const signed = new Map(resources.map(({ path, sha256 }) => [path, sha256]));
  if (signed.size < resources.length) refuseFiles('resources', 'each file once', 'one a second time');
  for (const { path, sha256 } of files) {
    const found = signed.get(path);
    signed.delete(path);
    const isPassedOver = isIgnored(path, PASSED_OVER) && isIgnored(path, ignoredPaths);
    if (found !== sha256 && !(found === undefined && isPassedOver)) {
      refuseFiles(path, sha256, found ?? 'no resource of this path');
    }
  }
  for (const [path, sha256] of signed) refuseFiles(path, 'no such file', sha256);
}

function refuseFiles(field: string, expected: string, found: string): never {
  throw modelSigningRefusals.error('model-signature-files', { field: excerpt(field), expected, found });
}

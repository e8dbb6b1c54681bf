/** What the readers of weight files share: the list of tensors, and the rule that it covers the file exactly. */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

const NOT_SOUND = 'Take the file from its publisher again; a sound converter does not write this.';

export const weightsRefusals = defineRefusals('malformed', {
  'weights-header-malformed': { means: 'The header of a weight file cannot be read.', hint: NOT_SOUND },
  'weights-header-too-large': { means: 'The header of a weight file is over its limit.', hint: NOT_SOUND },
  'weights-duplicate-name': { means: 'Two tensors or two metadata have one name.', hint: NOT_SOUND },
  'weights-tensor-malformed': { means: 'A tensor has a type or shape that is not known.', hint: NOT_SOUND },
  'weights-tensor-overlap': { means: 'Two tensors share bytes.', hint: NOT_SOUND },
  'weights-tensor-hole': { means: 'Bytes between tensors belong to none.', hint: NOT_SOUND },
  'weights-tensor-outside': { means: 'A tensor leaves the file.', hint: NOT_SOUND },
  'weights-index-malformed': { means: 'An index of shards cannot be read.', hint: NOT_SOUND },
  'weights-index-disagrees': {
    means: 'An index of shards names other tensors than the shards hold.',
    hint: 'Take index and shards from one release of their publisher; one of them is of another.',
  },
  'weights-trailing': { means: 'Bytes follow after the last tensor.', hint: NOT_SOUND },
});

type WeightsCode = keyof typeof weightsRefusals.codes;

/** Reads exactly so many bytes of the file: the caller stays within its size. */
export type ReadRange = (offset: number, length: number) => Promise<Uint8Array>;

/** One tensor of a weight file. */
export interface TensorEntry {
  readonly name: string;
  /** The format's own name of its element type. */
  readonly type: string;
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export function refuseWeights(code: WeightsCode, field: string, expected: string, found: string): never {
  throw weightsRefusals.error(code, { field: excerpt(field), expected, found });
}

/**
 * Checks that tensors follow each other from the start of the data to the end of the file, apart from padding.
 *
 * @param dataStart where the first tensor must begin
 * @param alignment each tensor begins at a multiple of this, counted from `dataStart`, and no later than it must
 * @throws RefusalError `weights-tensor-*`, `weights-trailing`
 */
export function checkCoverage(
  path: string,
  tensors: readonly TensorEntry[],
  { dataStart, fileBytes, alignment }: { dataStart: number; fileBytes: number; alignment: number },
): void {
  const padded = (offset: number): number =>
    offset + ((alignment - ((offset - dataStart) % alignment)) % alignment);
  const ordered = tensors.toSorted((left, right) => left.offset - right.offset || left.bytes - right.bytes);
  let end = dataStart;
  for (const tensor of ordered) {
    const field = `${path}:${tensor.name}`;
    const expected = `offset ${padded(end)}`;
    const found = `offset ${tensor.offset}`;
    if (tensor.offset < padded(end)) refuseWeights('weights-tensor-overlap', field, expected, found);
    if (tensor.offset > padded(end)) refuseWeights('weights-tensor-hole', field, expected, found);
    end = tensor.offset + tensor.bytes;
    if (end > fileBytes) {
      refuseWeights('weights-tensor-outside', field, `an end within ${fileBytes} bytes`, `${end}`);
    }
  }
  if (fileBytes > padded(end)) {
    refuseWeights('weights-trailing', path, `at most ${padded(end)} bytes`, `${fileBytes} bytes`);
  }
}

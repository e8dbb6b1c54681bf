/** Operations on the certificates of a PEM file. */

import { fromBase64, fromUtf8, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { caseOf, fileOf, vectorById } from './vector-nvidia-case.ts';
import type { NvidiaSet } from './vector-nvidia-case.ts';
import type { OperationOf } from './vector-nvidia-operations.ts';
import { itemAt, overwrite, swapped, xorAt } from './vector-nvidia-pieces.ts';

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\r?\n?/g;

/** The certificates of a PEM file, each with its lines as they stand. */
export function pemBlocks(bytes: Uint8Array): readonly string[] {
  return [...fromUtf8(bytes, 'pem').matchAll(PEM_BLOCK)].map(([block]) => block);
}

/** DER of one block of `pemBlocks`. */
export function derOfBlock(block: string): Uint8Array {
  const [, lines = ''] = new RegExp(PEM_BLOCK.source).exec(block) ?? [];
  return fromBase64(lines.replace(/\s/g, ''), 'pem');
}

function blockOf(der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

export function editPem(
  bytes: Uint8Array,
  operation: OperationOf<
    'pem_delete' | 'pem_swap' | 'pem_reverse' | 'pem_duplicate' | 'pem_replace' | 'der_xor'
  >,
  set: NvidiaSet,
): Uint8Array {
  return toUtf8(editBlocks(pemBlocks(bytes), operation, set).map(withLineEnd).join(''));
}

/** The last block of a file may lack it. */
function withLineEnd(block: string): string {
  return block.endsWith('\n') ? block : `${block}\n`;
}

function editBlocks(
  blocks: readonly string[],
  operation: Parameters<typeof editPem>[1],
  set: NvidiaSet,
): readonly string[] {
  switch (operation.op) {
    case 'pem_delete':
      return blocks.toSpliced(operation.index, 1);
    case 'pem_swap':
      return swapped(blocks, operation);
    case 'pem_reverse':
      return blocks.toReversed();
    case 'pem_duplicate':
      return blocks.toSpliced(operation.index, 0, itemAt(blocks, operation.index));
    case 'pem_replace':
      return blocks.with(operation.index, foreignBlock(operation, set));
    case 'der_xor': {
      const der = derOfBlock(itemAt(blocks, operation.index));
      return blocks.with(operation.index, blockOf(overwrite(der, operation.offset, xorAt(der, operation))));
    }
  }
}

function foreignBlock({ from }: OperationOf<'pem_replace'>, set: NvidiaSet): string {
  if (!('path' in from)) {
    return itemAt(pemBlocks(fileOf(caseOf(set, vectorById(set, from.vector)), from.file)), from.index);
  }
  const stated = set.manifest.roots.find(({ file }) => file === from.path);
  return itemAt(pemBlocks(set.folder.file(from.path, stated?.sha256)), 0);
}

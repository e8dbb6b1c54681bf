/** The public vectors of NVIDIA's devices, as far as tests of single parts need them. They lie outside the repository. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { fromBase64, fromHex } from '../../../attestation/core/bytes.ts';
import type { ReportKind } from '../../../attestation/nvidia-gpu/spdm.ts';
import { vectorFolder, vectorsMissing } from '../../support/vectors.ts';

const SET = 'nvidia';

export const nvidiaVectorsMissing = vectorsMissing(SET);

interface ManifestVector {
  readonly id: string;
  readonly kind: string;
  readonly files: Readonly<Record<string, { readonly path: string }>>;
  readonly context?: { readonly expected_nonce: string; readonly verify_at: string };
  readonly parsed?: Readonly<Record<string, unknown>>;
  readonly expect: { readonly verdict: string; readonly failing: readonly string[] };
}

/** One device of the vectors, with what must be found in it. */
export interface VectorDevice {
  readonly id: string;
  readonly kind: ReportKind;
  readonly report: Uint8Array;
  /** PEM of the chain; undefined where none is published. */
  readonly chain: Uint8Array | undefined;
  readonly nonce: Uint8Array | undefined;
  /** POSIX seconds. */
  readonly time: number;
  readonly parsed: Readonly<Record<string, unknown>>;
  readonly failing: readonly string[];
}

const EVIDENCE_KINDS: Readonly<Record<string, ReportKind>> = {
  'gpu-evidence': 'gpu',
  'switch-evidence': 'switch',
  'opaque-format': 'gpu',
};

function manifestVectors(): readonly ManifestVector[] {
  if (nvidiaVectorsMissing !== undefined) return [];
  const manifest = JSON.parse(readFileSync(join(vectorFolder(SET), 'manifest.json'), 'utf8')) as {
    readonly vectors: readonly ManifestVector[];
  };
  return manifest.vectors;
}

export function nvidiaFile(path: string): Uint8Array {
  return new Uint8Array(readFileSync(join(vectorFolder(SET), path)));
}

const DEFAULT_TIME = '2026-11-01T00:00:00Z';

/** The devices that stand alone. None when the vectors are missing. */
export function vectorDevices(): readonly VectorDevice[] {
  return manifestVectors().flatMap(({ id, kind, files, context, parsed, expect }) => {
    const role = EVIDENCE_KINDS[kind];
    if (role === undefined || files['report'] === undefined) return [];
    return {
      id,
      kind: role,
      report: nvidiaFile(files['report'].path),
      chain: files['chain'] && nvidiaFile(files['chain'].path),
      nonce: context && fromHex(context.expected_nonce, 'expected_nonce'),
      time: Date.parse(context?.verify_at ?? DEFAULT_TIME) / 1000,
      parsed: parsed ?? {},
      failing: expect.failing,
    };
  });
}

/** @throws Error if the vectors have no such device */
export function vectorDevice(id: string): VectorDevice {
  const device = vectorDevices().find((candidate) => candidate.id === id);
  if (device === undefined) throw new Error(`no vector ${id}`);
  return device;
}

interface SetEntry {
  readonly arch: string;
  readonly evidence: string;
  readonly certificate: string;
}

/** The devices of one machine. @param id for example `set/hgx-h100-ppcie-590.12` */
export function vectorMachine(id: string): readonly VectorDevice[] {
  const vector = manifestVectors().find((candidate) => candidate.id === id);
  const path = vector?.files['evidence']?.path;
  if (vector === undefined || path === undefined) throw new Error(`no vector ${id}`);
  const entries = JSON.parse(Buffer.from(nvidiaFile(path)).toString('utf8')) as readonly SetEntry[];
  return entries.map(({ arch, evidence, certificate }, i) => ({
    id: `${id}/${i}`,
    kind: arch === 'LS10' ? 'switch' : 'gpu',
    report: fromBase64(evidence, 'evidence'),
    chain: fromBase64(certificate, 'certificate'),
    nonce: vector.context && fromHex(vector.context.expected_nonce, 'expected_nonce'),
    time: Date.parse(vector.context?.verify_at ?? DEFAULT_TIME) / 1000,
    parsed: {},
    failing: [],
  }));
}

/** The class of vectors `nvidia`: reports of GPUs and switches, reference manifests, OCSP answers, tokens, schema 1. */

import { caseOf, vectorById } from './vector-nvidia-case.ts';
import type { NvidiaCase, NvidiaSet } from './vector-nvidia-case.ts';
import { rootLine } from './vector-nvidia-certificates.ts';
import { compositeJudge } from './vector-nvidia-composite.ts';
import { applyOperations } from './vector-nvidia-edits.ts';
import { evidenceJudge, opaqueFormatJudge } from './vector-nvidia-evidence.ts';
import {
  expectationOfMutation,
  expectationOfVector,
  explainOrder,
  failingLine,
  verdictLine,
} from './vector-nvidia-judgement.ts';
import type { Expectation, KindJudge } from './vector-nvidia-judgement.ts';
import { readNvidiaManifest } from './vector-nvidia-manifest.ts';
import type { NvidiaMutation, VectorKind } from './vector-nvidia-manifest.ts';
import { nrasJudge } from './vector-nvidia-nras.ts';
import { ocspJudge } from './vector-nvidia-ocsp.ts';
import { measurementJudge, rimJudge } from './vector-nvidia-rim.ts';
import type { VectorClass, VectorLine } from './vector-runner.ts';
import { deviceSetJudge } from './vector-nvidia-set.ts';

const JUDGES: Readonly<Record<VectorKind, KindJudge>> = {
  'gpu-evidence': evidenceJudge,
  'switch-evidence': evidenceJudge,
  'opaque-format': opaqueFormatJudge,
  'device-set': deviceSetJudge,
  rim: rimJudge,
  measurement: measurementJudge,
  ocsp: ocspJudge,
  'nras-eat': nrasJudge,
  composite: compositeJudge,
};

export const nvidiaVectors: VectorClass = {
  name: 'nvidia',
  async *judge(folder) {
    const set = { folder, manifest: readNvidiaManifest(folder.manifest) };
    for (const root of set.manifest.roots) yield await rootLine(set, root);
    for (const vector of set.manifest.vectors) yield* judgeVector(caseOf(set, vector));
    for (const mutation of set.manifest.mutations) yield await judgeMutation(set, mutation);
  },
};

function expectationOf(subject: NvidiaCase): Expectation {
  return JUDGES[subject.vector.kind].expectation?.(subject) ?? expectationOfVector(subject);
}

async function* judgeVector(subject: NvidiaCase): AsyncIterable<VectorLine> {
  const judge = JUDGES[subject.vector.kind];
  yield await judgeCase(subject.vector.id, subject, expectationOf(subject));
  if (Object.keys(subject.vector.checks).length > 0) yield failingLine(subject);
  if (judge.facts !== undefined) yield* judge.facts(subject);
}

async function judgeMutation(set: NvidiaSet, mutation: NvidiaMutation): Promise<VectorLine> {
  const base = caseOf(set, vectorById(set, mutation.base));
  const expectation = expectationOfMutation(mutation, expectationOf(base));
  return judgeCase(mutation.id, applyOperations(base, mutation.ops), expectation);
}

async function judgeCase(line: string, subject: NvidiaCase, expectation: Expectation): Promise<VectorLine> {
  const judge = JUDGES[subject.vector.kind];
  const { unjudged, checks, together } = judge;
  const judged = verdictLine(line, expectation, await judge.refusals(subject), checks, together);
  if (!judged.agrees) return explainOrder(judged, expectation, judge, subject);
  return unjudged === undefined ? judged : { ...judged, explanation: unjudged };
}

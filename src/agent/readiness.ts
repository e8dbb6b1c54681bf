/**
 * Whether an agent could run on this machine: each thing that it needs, tried on its own, so that one look shows all
 * that is missing. Nothing is changed and nothing secret is made.
 */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { promisify } from 'node:util';

import { nativeChunks } from '../../native/chunks/chunks.ts';
import { KeyMemory } from '../../native/memory/key-memory.ts';
import { machineSwaps } from '../../native/memory/mapping.ts';
import { HUGE_PAGE_BYTES, SecretMemory } from '../../native/memory/secret-memory.ts';
import { loadTctiLibrary } from '../../native/tpm/tctildr.ts';
import { examined, missing, ready, remark, type Finding, type Found } from './finding.ts';
import { examineGpus } from './nvidia-gpu/readiness.ts';
import { Tpm } from '../../native/tpm-commands/tpm.ts';

type Examination = () => Found | Promise<Found>;

/** The first whose WebCrypto has ML-KEM, which the grant needs. */
const MINIMUM_NODE = { major: 24, minor: 7 };
const OPEN_TPM_SECONDS = 5;

/** Addresses of devices; they come from the operator. */
export interface ExaminedAddresses {
  /** TCTI text. */
  readonly tpm: string;
  /** As in docs/spec/nvidia-gpu-agent.md, section 1. */
  readonly gpus: string;
}

export async function examineMachine({ tpm, gpus }: ExaminedAddresses): Promise<readonly Finding[]> {
  const examinations: readonly (readonly [string, Examination])[] = [
    ['Node.js', examineNode],
    ['TPM stack', examineTpmStack],
    ['TPM', () => examineTpm(tpm)],
    ['software TPM', examineSoftwareTpm],
    ['memory for weights', examineWeightMemory],
    ['memory for keys', examineKeyMemory],
    ['swap', examineSwap],
    ['unsealing', examineUnsealing],
    ['huge pages', examineHugePages],
    ['seccomp', examineSeccomp],
    ['engine', examineEngine],
  ];
  const findings: Finding[] = [];
  for (const [what, examine] of examinations) findings.push({ what, ...(await examined(examine)) });
  return [...findings, ...(await examineGpus(gpus))];
}

function examineNode(): Found {
  const { node, openssl } = process.versions;
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const found = `Node.js ${node}, OpenSSL ${openssl}`;
  const { major: least, minor: leastMinor } = MINIMUM_NODE;
  if (major > least || (major === least && minor >= leastMinor)) return ready(found);
  return missing(found, `Run bin/weightgate, which brings Node.js ${least}, after scripts/setup.`);
}

function examineTpmStack(): Found {
  loadTctiLibrary();
  return ready('libtss2-tctildr loads');
}

async function examineTpm(address: string): Promise<Found> {
  const tpm = await Tpm.open(address, { openTimeoutSeconds: OPEN_TPM_SECONDS });
  await tpm.close();
  return ready(`${address} answers`);
}

async function examineSoftwareTpm(): Promise<Found> {
  try {
    const { stdout } = await promisify(execFile)('swtpm', ['--version']);
    return ready(stdout.split('\n', 1)[0] ?? 'swtpm');
  } catch {
    return remark(
      'no swtpm',
      'Only the demonstration and the tests need it: apt-get install swtpm swtpm-tools.',
    );
  }
}

/** The limit on locked memory counts the whole range at once, so a large range that is never touched shows it. */
function examineWeightMemory(): Found {
  const bytes = Math.floor(freemem() / 2);
  const memory = SecretMemory.allocate(bytes, 'weightgate-doctor');
  try {
    const size = `${Math.floor(bytes / 1e9)} GB, half of what is free,`;
    if (memory.protection.locked) return ready(`${size} can be locked`);
    return remark(
      `${size} cannot be locked; safe while no swap is on`,
      'Raise the limit on locked memory: ulimit -l, LimitMEMLOCK=.',
    );
  } finally {
    memory.close();
  }
}

function examineKeyMemory(): Found {
  const memory = KeyMemory.allocate(32);
  const { isolated } = memory;
  memory.close();
  if (isolated) return ready('memfd_secret: keys are out of reach even for the kernel');
  return remark(
    'no memfd_secret; keys are in locked memory',
    'Linux before 6.5 needs the boot parameter secretmem.enable=1; containers have to permit the call.',
  );
}

function examineSwap(): Found {
  if (!machineSwaps()) return ready('off');
  return missing(
    'on; an engine keeps copies of weights that cannot be locked',
    'Turn it off while a model runs: swapoff -a.',
  );
}

function examineUnsealing(): Found {
  if (nativeChunks() !== undefined) return ready('by the compiled part');
  return remark(
    'by the portable way: as safe, and slower',
    'Install a C++ compiler (apt-get install g++), then run scripts/build-native.',
  );
}

function examineHugePages(): Found {
  const memory = SecretMemory.allocate(HUGE_PAGE_BYTES, 'weightgate-doctor');
  const { backing } = memory;
  memory.close();
  if (backing === 'private-mount') return ready('in a private mount');
  const path = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
  const setting = /\[(\w+)\]/.exec(readOrEmpty(path))?.[1] ?? 'unknown';
  if (['always', 'within_size', 'advise', 'force'].includes(setting))
    return ready(`for memory files: ${setting}`);
  return remark(
    `no private mount (needs CAP_SYS_ADMIN); for memory files: ${setting}`,
    `Unsealing is several times faster with them: run the agent with that right, or echo advise > ${path}.`,
  );
}

function examineSeccomp(): Found {
  const actions = readOrEmpty('/proc/sys/kernel/seccomp/actions_avail').trim();
  if (actions.split(' ').includes('errno')) return ready('filters can be set');
  return missing(
    actions === '' ? 'none' : actions,
    'Use a kernel with CONFIG_SECCOMP_FILTER, and a container runtime that permits seccomp.',
  );
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

async function examineEngine(): Promise<Found> {
  try {
    const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
    const llama = await getLlama({
      build: 'never',
      skipDownload: true,
      gpu: false,
      logLevel: LlamaLogLevel.disabled,
      progressLogs: false,
    });
    await llama.dispose();
    return ready('llama.cpp loads');
  } catch (error) {
    const found = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : 'a failure';
    return missing(`llama.cpp does not load: ${found}`, 'Run scripts/setup again.');
  }
}

/**
 * The first program of an engine process: gives up what the engine must not have and then becomes the engine. Node opens
 * an io_uring as it starts, so only a Node that starts under the filter is without one (docs/spec/guard.md, GD-31).
 */

import { argv, execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import {
  becomeProgram,
  dieWithParent,
  hardenProcess,
  renounceSystemCalls,
} from '../../../native/process/confinement.ts';
import { ISOLATION } from '../../../native/process/seccomp-filter.ts';
import { CHANNEL_DESCRIPTOR, WEIGHTS_DESCRIPTOR } from './protocol.ts';

const parent = Number(argv[2]);
const engine = fileURLToPath(new URL('./engine-process.ts', import.meta.url));

hardenProcess();
dieWithParent(parent);
renounceSystemCalls(ISOLATION);
becomeProgram(execPath, [execPath, '--disable-warning=ExperimentalWarning', engine], {}, [
  CHANNEL_DESCRIPTOR,
  WEIGHTS_DESCRIPTOR,
]);

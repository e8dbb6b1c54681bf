/** An inference interface on a free port with an unmodified `openai` client in front of it. */

import OpenAI from 'openai';
import type { LeaseReport } from '../../src/agent/api/answer.ts';
import { createInferenceApi, type InferenceApiOptions } from '../../src/agent/api/app.ts';
import { listenInferenceApi, type ListeningApi } from '../../src/agent/api/listen.ts';
import type { Engine } from '../../src/agent/engine/engine.ts';
import { Guard } from '../../src/guard/guard.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLogger } from '../../src/platform/logging.ts';
import { readBaseline } from './inference-policy.ts';

export class TestLease {
  readonly ending = new AbortController();
  get isHeld(): boolean {
    return !this.ending.signal.aborted;
  }
  get over(): AbortSignal {
    return this.ending.signal;
  }
  /** What the next caller's confirmation brings about. */
  onConfirm: () => void = () => undefined;
  confirm(): Promise<void> {
    this.onConfirm();
    return Promise.resolve();
  }
  get state(): LeaseReport {
    const clock = {
      sources: ['tpm', 'kernel'],
      elapsedSeconds: 60,
      tpmReadSecondsAgo: 3,
      resetCount: 7,
      restartCount: 0,
    } as const;
    return { held: this.isHeld, remainingSeconds: this.isHeld ? 90 : 0, clock };
  }
}

export interface RunningApi extends ListeningApi {
  readonly client: OpenAI;
  readonly lease: TestLease;
}

export async function serve(engine: Engine, options: Partial<InferenceApiOptions> = {}): Promise<RunningApi> {
  const lease = new TestLease();
  const app = createInferenceApi({
    engine,
    lease,
    guard: options.guard ?? new Guard(await readBaseline(), systemClock),
    model: { id: 'harbour-1', ownedBy: 'example-owner' },
    clock: systemClock,
    logger: createLogger('silent'),
    ...options,
  });
  const listening = await listenInferenceApi(app);
  const client = new OpenAI({
    baseURL: `${listening.url}/v1`,
    apiKey: options.apiKey ?? 'unused',
    maxRetries: 0,
  });
  return { ...listening, client, lease };
}

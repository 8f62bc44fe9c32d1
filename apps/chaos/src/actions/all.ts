/** Every kind of action: a new one is its file and a line here. The order is part of the schedule of a seed. */
import type { Action } from './action.ts';
import { copyBlock, moveBlock, removeReplica, restoreToPool, uploadBlock } from './between-pools.ts';
import { deleteBlock, purgeBlock, undeleteBlock } from './delete.ts';
import { activate, drain } from './drain.ts';
import { importFile } from './import-file.ts';
import { hydrateInstance, loadInstance, rewindInstance, saveInstance, unloadInstance } from './instances.ts';
import { cancelJob, pauseJob, resumeJob, retryJob } from './job-control.ts';
import { limit } from './limit.ts';
import { collectPool, verifyPool } from './pool-jobs.ts';
import { restoreToFile } from './restore-to-file.ts';
import { sendContent } from './send-content.ts';
import { verifyBlock } from './verify-block.ts';
import { writeInstance } from './write-instance.ts';

export const ACTIONS: readonly Action[] = [
  importFile,
  sendContent,
  uploadBlock,
  copyBlock,
  moveBlock,
  restoreToPool,
  restoreToFile,
  removeReplica,
  verifyBlock,
  deleteBlock,
  purgeBlock,
  undeleteBlock,
  collectPool,
  verifyPool,
  loadInstance,
  writeInstance,
  saveInstance,
  rewindInstance,
  hydrateInstance,
  unloadInstance,
  cancelJob,
  retryJob,
  pauseJob,
  resumeJob,
  drain,
  activate,
  limit,
];

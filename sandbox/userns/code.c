/* Gives the pages of this program's file back. */
#define _GNU_SOURCE
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

extern const ElfW(Ehdr) __executable_start;

/*
 * Code and constants lie in segments that are never written. Data that is read-only
 * since its relocation is in a writable one: it would come back as it is in the file.
 * Only a program of fixed addresses, which no loader has changed.
 */
void bryo_forget_code(void)
{
	const ElfW(Ehdr) *file = &__executable_start;
	const ElfW(Phdr) *segment = (const void *)((const char *)file + file->e_phoff);
	unsigned long page = sysconf(_SC_PAGESIZE);

	for (int i = 0; file->e_type == ET_EXEC && i < file->e_phnum; i++, segment++) {
		unsigned long from = segment->p_vaddr & -page, to = (segment->p_vaddr + segment->p_filesz) & -page;

		if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && to > from)
			madvise((void *)from, to - from, MADV_DONTNEED);
	}
}

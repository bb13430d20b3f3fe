/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "host.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "esp_partition.h"

enum { FLASH_BYTES = 4 << 20, SECTOR = 4096, ERASED = 0xFF, MOST_PARTITIONS = 8 };

static struct {
    esp_partition_t seen;
    bool worn;
} partitions[MOST_PARTITIONS];
static int partition_count;

static int file;
static uint8_t *cells;

void host_flash_open(const char *path)
{
    struct stat state;

    file = open(path, O_RDWR | O_CREAT, 0600);
    RULE(file >= 0 && fstat(file, &state) == 0);
    const bool is_new = state.st_size == 0;
    RULE(ftruncate(file, FLASH_BYTES) == 0);
    cells = mmap(NULL, FLASH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    RULE(cells != MAP_FAILED);
    if (is_new) {
        memset(cells, ERASED, FLASH_BYTES);
    }
}

void host_flash_add(const char *line)
{
    char type[8] = "", wish[16] = "";
    esp_partition_t *seen = &partitions[partition_count].seen;
    const int fields = sscanf(line, "%16[^,],%7[^,],%x,%x,%15s", seen->label, type, &seen->address,
                              &seen->size, wish);

    RULE(partition_count < MOST_PARTITIONS && fields >= 4);
    RULE(seen->address <= FLASH_BYTES && seen->size <= FLASH_BYTES - seen->address);
    seen->type = strcmp(type, "app") == 0 ? ESP_PARTITION_TYPE_APP : ESP_PARTITION_TYPE_DATA;
    seen->erase_size = SECTOR;
    seen->encrypted = strcmp(wish, "encrypted") == 0;
    partitions[partition_count].worn = strcmp(wish, "worn") == 0;
    partition_count++;
}

const esp_partition_t *esp_partition_find_first(esp_partition_type_t type,
                                                esp_partition_subtype_t subtype, const char *label)
{
    RULE(subtype == ESP_PARTITION_SUBTYPE_ANY);
    for (int i = 0; i < partition_count; i++) {
        const esp_partition_t *seen = &partitions[i].seen;
        if (seen->type == type && (label == NULL || strcmp(seen->label, label) == 0)) {
            return seen;
        }
    }
    return NULL;
}

static esp_err_t check(const esp_partition_t *partition, size_t offset, size_t size)
{
    return offset > partition->size          ? ESP_ERR_INVALID_ARG
           : size > partition->size - offset ? ESP_ERR_INVALID_SIZE
                                             : ESP_OK;
}

esp_err_t esp_partition_erase_range(const esp_partition_t *partition, size_t offset, size_t size)
{
    const esp_err_t error = check(partition, offset, size);

    if (error != ESP_OK || size % SECTOR != 0 || offset % SECTOR != 0) {
        return error != ESP_OK ? error : size % SECTOR != 0 ? ESP_ERR_INVALID_SIZE : ESP_ERR_INVALID_ARG;
    }
    memset(cells + partition->address + offset, ERASED, size);
    return ESP_OK;
}

/* As NOR flash is written: bits become 0, never 1. */
esp_err_t esp_partition_write(const esp_partition_t *partition, size_t dst_offset, const void *src,
                              size_t size)
{
    const esp_err_t error = check(partition, dst_offset, size);
    const uint8_t *bytes = src;
    bool worn = false;

    for (int i = 0; i < partition_count; i++) {
        worn = worn || (partition == &partitions[i].seen && partitions[i].worn);
    }
    for (size_t i = 0; error == ESP_OK && !worn && i < size; i++) {
        cells[partition->address + dst_offset + i] &= bytes[i];
    }
    return error;
}

esp_err_t esp_partition_mmap(const esp_partition_t *partition, size_t offset, size_t size,
                             esp_partition_mmap_memory_t memory, const void **out_ptr,
                             esp_partition_mmap_handle_t *out_handle)
{
    const esp_err_t error = check(partition, offset, size);

    if (error != ESP_OK) {
        return error;
    }
    RULE(memory == ESP_PARTITION_MMAP_DATA);
    void *seen = mmap(NULL, size, PROT_READ, MAP_SHARED, file, (off_t)(partition->address + offset));
    RULE(seen != MAP_FAILED);
    *out_ptr = seen;
    *out_handle = 1;
    return ESP_OK;
}
